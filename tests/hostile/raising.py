raise RuntimeError("no license")
