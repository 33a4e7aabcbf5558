"""OpenShift: Kubernetes, and what it adds: its own release, operators installed by OLM, routes, projects, SCCs."""
