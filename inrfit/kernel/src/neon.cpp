// NEON, float32.
#define FLOAT32 0
#define BFLOAT16 1
#define TILES 2
#define PRODUCTS FLOAT32
#define VECTOR_BYTES 16
#define ROWS 8
#define VECTORS 3
#define BLOCK 96
#include "perceptron.inc"

INRFIT_KERNEL(neon)
