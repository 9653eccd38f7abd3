"""Admission: what of a request is judged, how it is answered within a budget, and where decisions wait to be sent."""
