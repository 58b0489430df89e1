"""Headers as bytes, one file a protocol: every field is named here and nowhere else."""
