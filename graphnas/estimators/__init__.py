"""Performance estimation: tables, training, and (later rooms) shared weights, proxies and predictors."""
