// What the linear heads of a probe learn from: rows of features, and the errors of softmax with cross-entropy.

// Rows of a matrix, in the order of their indices; `n` values in all.
extern "C" __global__ void rows_at(const float* from, const int* rows, float* to, int dimension, unsigned long long n) {
    EACH(i, n) {
        u64 row = i;
        int column = take(row, dimension);
        to[i] = from[(u64)rows[row] * (u64)dimension + (u64)column];
    }
}

// Of the mean cross-entropy over all rows; one block a row.
extern "C" __global__ void softmax_errors(const float* logits, const float* bias, const int* labels, float* errors,
                                          int rows, int classes) {
    u64 row = blockIdx.x;
    const float* own = logits + row * (u64)classes;
    // Classes are few: each thread looks at all of them.
    float most = own[0] + bias[0];
    for (int k = 1; k < classes; k++) most = fmaxf(most, own[k] + bias[k]);
    float sum = (float)block_sum((u64)classes, [=](u64 k) { return (double)expf(own[k] + bias[k] - most); });
    for (int k = (int)threadIdx.x; k < classes; k += (int)blockDim.x) {
        float target = k == labels[row] ? 1.0f : 0.0f;
        errors[row * (u64)classes + (u64)k] = (expf(own[k] + bias[k] - most) / sum - target) / (float)rows;
    }
}

// The sum of all rows.
extern "C" __global__ void add_up_rows(const float* from, float* to, int rows, int columns) {
    EACH(column, (u64)columns) {
        float sum = 0.0f;
        for (int row = 0; row < rows; row++) sum += from[(u64)row * (u64)columns + column];
        to[column] = sum;
    }
}
