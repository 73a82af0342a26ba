"""One script per stage, named in dvc.yaml; each reads inputs, calls facestudy and writes outputs."""
