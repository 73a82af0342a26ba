"""The commands behind make and the program `facestudy`."""
