//! Every line of `timeline`.
