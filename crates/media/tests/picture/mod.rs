//! What pictures look like: fields, colours, shapes, codecs.

mod codecs;
mod colors;
mod fields;
mod patches;
mod quality;
mod shapes;
