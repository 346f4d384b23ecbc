// AVX512 with bfloat16 products.
#define FLOAT32 0
#define BFLOAT16 1
#define TILES 2
#define PRODUCTS BFLOAT16
#define VECTOR_BYTES 64
#define ROWS 14
#define VECTORS 2
#define BLOCK 224
#include "perceptron.inc"

INRFIT_KERNEL(avx512_bf16)
