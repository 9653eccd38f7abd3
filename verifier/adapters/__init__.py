"""The only IO of `verifier`: registries over HTTP, OCI image layouts, evidence stores."""
