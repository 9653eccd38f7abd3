"""Evidence formats: one file each; `facts` verifies, `keys` holds public keys, `limits` the guard rails."""
