"""Classic distillation, teacher to student, on the maps (logits, st) or on paired features (at, nst, rkd, ofd, afd)."""
