"""One script a stage, named in dvc.yaml; each reads inputs, calls facestudy, writes outputs."""
