"""Many runs; the only room that meets Hydra's runtime."""
