"""The runner around the core: configuration, files, TensorBoard, figures, commands."""
