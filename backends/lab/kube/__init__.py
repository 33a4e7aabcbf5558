"""A small Kubernetes API on loopback: real protocol, simulated cluster."""
