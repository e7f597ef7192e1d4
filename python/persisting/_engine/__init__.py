"""The engine through its C interface: one module for each noun of `capi/persisting.h`.

The library is loaded when it is called first. Each method is one call, whose text in the header
is the contract; a status other than OK is raised as the exception of its code. Calls let go of
the GIL, so one that waits for a disk belongs on a thread other than that of an event loop; which
ones those are is said at each method. This is all that knows ctypes, and it knows neither
records nor asyncio.
"""
