"""Lower bounds: what no policy can serve a load for, who knew all that will come included."""
