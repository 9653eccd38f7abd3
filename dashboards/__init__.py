"""Dashboards: what Kibana shows, as data over the field table; what each panel asks; how it is put into a Kibana."""
