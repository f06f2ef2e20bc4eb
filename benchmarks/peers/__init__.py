"""The compared layers and models: the project's and those of other libraries, at the same sizes."""
