"""What is compared: the project's own layer and model beside those of other libraries, each of the same size."""
