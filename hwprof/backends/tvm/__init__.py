"""Apache TVM, on this machine or on a remote one by its RPC: https://tvm.apache.org

2026-11-21, how builds are resampled. With no tuning a build follows from graph, target and version, and
each process compiles its own. A tuned build follows from what the search happened to find, so `hwprof tune
--builds N` keeps N independent searches, and process r runs build r modulo N: the interval then spans the
luck of the search. With one search the build is frozen, and a warning says so.

2026-11-21, one way to time. TVM's time evaluator runs the loop where the network lies; here as over RPC,
so that both give the same figure. Timing the calls from Python was the alternative for this machine; it
would have counted the interpreter here and the wire there.
"""
