// Feedback matching (docs/paper.md 3): distance of a layer's error from the ideal one, and its gradient by the
// predictions.

// Negatives of a row, at most.
#define MOST_NEGATIVES 64

// What an ideal error has at a position and the spread error lacks.
__device__ inline double missing_at(const double* dp, const map_t* ideal, int y, int x, int channel, int channels,
                                    const pooling_t& pool) {
    range_t cell_ys = cells_of(y, pool.height, pool.pooled_h, pool.kind, pool.block_h);
    range_t cell_xs = cells_of(x, pool.width, pool.pooled_w, pool.kind, pool.block_w);
    const double* from = dp + (u64)channel * cells_in(pool);
    double spread = 0.0;
    for (int cell_y = cell_ys.first; cell_y < cell_ys.end; cell_y++) {
        for (int cell_x = cell_xs.first; cell_x < cell_xs.end; cell_x++) {
            int cell = cell_y * pool.pooled_w + cell_x;
            range_t ys, xs;
            cell_at(pool, cell, ys, xs);
            spread += share_of(ys, xs) * from[cell];
        }
    }
    return (double)load(ideal + ((u64)y * pool.width + x) * channels + channel) - spread;
}

// The square of what is missing and of the ideal error, and the gradient of the former by `dp`: one block a row.
extern "C" __global__ void match_distance(const double* dp, const map_t* ideal, double* slope, double* partial,
                                          int rows, int height, int width, int channels, int pooled_h, int pooled_w,
                                          int kind, int block_h, int block_w) {
    pooling_t pool = {height, width, pooled_h, pooled_w, kind, block_h, block_w};
    int cells = cells_in(pool);
    u64 row = blockIdx.x;
    const double* own = dp + row * channels * cells;
    const map_t* maps = ideal + row * height * width * channels;
    for (u64 i = threadIdx.x; i < (u64)cells * channels; i += blockDim.x) {
        u64 rest = i;
        int channel = take(rest, channels);
        int cell = (int)rest;
        range_t ys, xs;
        cell_at(pool, cell, ys, xs);
        double sum = 0.0, twice = 2.0 * share_of(ys, xs);
        for (int y = ys.first; y < ys.end; y++) {
            for (int x = xs.first; x < xs.end; x++) {
                sum -= twice * missing_at(own, maps, y, x, channel, channels, pool);
            }
        }
        slope[(row * channels + channel) * cells + cell] = sum;
    }
    pair_t sums = block_sum_pair((u64)height * width * channels, [=](u64 i) {
        u64 rest = i;
        int channel = take(rest, channels);
        int x = take(rest, width);
        double missing = missing_at(own, maps, (int)rest, x, channel, channels, pool);
        double error = (double)load(maps + i);
        pair_t pair = {missing * missing, error * error};
        return pair;
    });
    if (threadIdx.x != 0) return;
    partial[2 * row] = sums.first;
    partial[2 * row + 1] = sums.second;
}

// `w s(x)` has the slope `w s(x) (1 - s(x))`.
__device__ inline double logistic_slope(double factor, double weight) {
    return weight > 0.0 ? factor * (1.0 - factor / weight) : 0.0;
}

// Second derivatives of a contrast by the scores, times a vector: how the third factors `g` of one row (its positive's,
// then its negatives') change as the scores move along `direction`. Read off the factors themselves, which are sigmoids
// wherever the contrast is curved: a term that does not count has a factor of 0, and no curvature.
__device__ inline void curvature(int contrast, double theta, double pos_coeff, const double* g, const double* direction,
                                 double* out, int count) {
    double gate = 0.0, along = 0.0;
    for (int i = 1; i <= count; i++) gate += g[i];
    gate = fmax(gate, -g[0]);
    for (int i = 0; i <= count; i++) along += g[i] / gate * direction[i];
    double curve = logistic_slope(gate, theta) * theta * along;
    for (int i = 0; i <= count; i++) {
        out[i] = 0.0;
        if (contrast == SOFT_HINGE || contrast == GOODNESS) {
            out[i] = logistic_slope(fabs(g[i]), i == 0 ? pos_coeff : 1.0 / count) * direction[i];
        } else if (contrast == PHYLL && !(gate <= 0.0)) {
            // All factors are one gate times the slopes of the one argument.
            out[i] = curve * g[i] / gate;
        }
    }
}

// The gradient of the distance by the predictions: directly, and through the scores that the factors hang on. One block
// a row.
extern "C" __global__ void match_errors(const float* p, const float* s, const double* slope, const int* negatives,
                                        const double* g_pos, const double* g_neg, float* errors, int rows,
                                        int dimension, int count, int partner, int contrast, float theta,
                                        float pos_coeff) {
    // What is scored against the prediction: the positive, then the negatives.
    __shared__ int scored[MOST_NEGATIVES + 1];
    __shared__ double g[MOST_NEGATIVES + 1], by_factor[MOST_NEGATIVES + 1], by_score[MOST_NEGATIVES + 1];
    int row = (int)blockIdx.x;
    for (int i = (int)threadIdx.x; i <= count; i += (int)blockDim.x) {
        u64 at = (u64)(i - 1) * rows + row;
        scored[i] = partner_of(i == 0 ? row : negatives[at], rows, partner);
        g[i] = i == 0 ? g_pos[row] : g_neg[at];
    }
    __syncthreads();
    const float* prediction = s + (u64)row * dimension;
    for (int i = 0; i <= count; i++) {
        const double* r = slope + (u64)scored[i] * dimension;
        double sum = block_sum((u64)dimension, [=](u64 k) { return (double)prediction[k] * r[k]; });
        if (threadIdx.x == 0) by_factor[i] = sum;
    }
    if (threadIdx.x == 0) curvature(contrast, (double)theta, (double)pos_coeff, g, by_factor, by_score, count);
    __syncthreads();
    for (int k = (int)threadIdx.x; k < dimension; k += (int)blockDim.x) {
        double sum = 0.0;
        for (int i = 0; i <= count; i++) {
            u64 at = (u64)scored[i] * dimension + k;
            sum += g[i] * slope[at] + by_score[i] * (double)p[at];
        }
        errors[(u64)row * dimension + k] = (float)(sum / rows);
    }
}

// By one block: each of the two columns in the order of the rows.
extern "C" __global__ void sum_pairs(const double* partial, double* out, int rows) {
    for (int column = (int)threadIdx.x; column < 2; column += (int)blockDim.x) {
        double sum = 0.0;
        for (int row = 0; row < rows; row++) sum += partial[2 * (u64)row + column];
        out[column] = sum;
    }
}
