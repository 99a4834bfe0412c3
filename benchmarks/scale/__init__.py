"""`--engine ray`: how fast `score` is with it beside other ways, and what kills cost."""
