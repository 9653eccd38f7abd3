"""Dashboards: Kibana content, the HTML report and their previews, generated from the field table."""
