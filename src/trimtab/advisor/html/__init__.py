"""Reports as one HTML file that needs nothing but itself: templates, a style for light and dark, charts in SVG."""
