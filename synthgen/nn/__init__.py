"""Parts that families share: networks, mixtures, density ratios."""
