"""Deepfake detectors on whole and cropped faces: the library behind the stages."""
