// AVX2 and FMA, float32.
#define FLOAT32 0
#define BFLOAT16 1
#define TILES 2
#define PRODUCTS FLOAT32
#define VECTOR_BYTES 32
#define ROWS 6
#define VECTORS 2
#define BLOCK 96
#include "perceptron.inc"

INRFIT_KERNEL(avx2)
