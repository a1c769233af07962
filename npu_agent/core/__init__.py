"""Pure values and functions: what there is, how it is, what kubelet is told of it. No I/O, no asyncio, no clock."""
