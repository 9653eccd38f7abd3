"""What deserves attention: findings, incidents by cause, routing, rendering, delivery. Imports verifier only."""
