"""What runs beside a student's answer, or holds it: nothing here knows an answer or a mark."""
