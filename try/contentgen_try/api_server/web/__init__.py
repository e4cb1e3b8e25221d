"""HTTP: routes, discovery, reviews, tables."""
