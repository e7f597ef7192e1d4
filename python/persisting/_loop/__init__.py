"""The engine beside an event loop: what waits for the engine holds no loop up.

Calls that wait are made on `threads`. What the engine ends later it tells through a file
descriptor that the loop watches: `acknowledgements` of the rows of a bucket, `tickets` of batches
of a store of blocks. `futures` tells those who wait, each on the loop where it does.
"""
