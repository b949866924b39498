"""Control plane: `api` records intent; `loop` makes it true: observe -> plan (pure) -> apply."""
