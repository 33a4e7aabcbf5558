"""Nothing changes by accident: a Change is told in full, asked about, journaled, verified, and can be undone."""
