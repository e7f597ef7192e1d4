"""The engine through its C interface: one module for each noun of `capi/persisting.h`.

The library is loaded when it is called first. Each method is one call of `functions`, whose text in
the header is the contract and says whether it waits; a status other than OK is raised as the
exception of its code. Calls let go of the GIL, so one that waits for a disk belongs on a thread
other than that of an event loop. This is all that knows ctypes, and it knows neither records nor
asyncio.
"""
