"""What Deskside does, as functions: plan, apply, check, status, verify. Values in, values out."""
