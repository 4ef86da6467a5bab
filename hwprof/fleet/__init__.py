"""A fleet: many boards, each measured by one agent at a time, for one driver whose store is the only truth.

The engine is Dask distributed: a scheduler, one Dask worker (the agent) on each board, and a client in the driver. It
carries JSON texts, knows who is alive, and keeps nothing that matters: any part may die at any moment.
"""
