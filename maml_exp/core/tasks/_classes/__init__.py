"""N-way K-shot classification: classes of images, how they are split, warped and drawn; families are made of it."""
