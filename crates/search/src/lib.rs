//! Exact nearest neighbours by cosine in memory: a quantized scan with bounds.
