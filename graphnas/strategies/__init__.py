"""Search strategies, all behind ask and tell."""
