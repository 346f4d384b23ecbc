// AVX512, float32.
#define FLOAT32 0
#define BFLOAT16 1
#define TILES 2
#define PRODUCTS FLOAT32
#define VECTOR_BYTES 64
#define ROWS 14
#define VECTORS 2
#define BLOCK 112
#include "perceptron.inc"

INRFIT_KERNEL(avx512)
