"""Apache TVM, on this machine or on a remote one through TVM's RPC: https://tvm.apache.org

2026-11-21, how builds are resampled. Without tuning, graph, target and version determine a build, and each process
compiles its own. A tuned build depends on what the search happened to find, so `hwprof tune --builds N` keeps N
independent searches, and process r runs build r modulo N: the interval then covers the luck of the search. With one
search the build is frozen, and a warning says so.

2026-11-21, one way to time. TVM's time evaluator runs its loop on the machine that runs the network, both here and
over RPC, so that both give the same figure. The alternative for this machine was to time the calls from Python; that
would have counted the interpreter here and the network connection there.
"""
