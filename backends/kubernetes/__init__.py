"""Kubernetes: the GPU Operator's stack, the pods that use GPUs, their logs, and what may be done to them.

`backend.Kubernetes` is what the registry loads. It watches through `watching`, keeps the lean values of `objects`, and
hands them to the pure cores `stack`, `waterfall` and `workloads`. The SDK is imported by `api` alone, on first use.
"""
