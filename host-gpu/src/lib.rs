//! Host side of `clapp`: data, backends, training and evaluation of the local rules.
