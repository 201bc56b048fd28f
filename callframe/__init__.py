"""The call history of Cognite Data Fusion Functions as one typed pandas DataFrame."""
