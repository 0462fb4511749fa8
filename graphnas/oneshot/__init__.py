"""Differentiable search: relaxations, outer steps, gates, regularisers and discretisers, and the loop that joins them."""
