// Cutting and resizing one plane as augment/resample.rs does it: bilinear with antialiasing, in fixed-point numbers.

// Bits after the point of a weight.
enum { FRACTION = 22 };

// Weights of the input pixels for each output pixel along one axis: first input and number of inputs of each output,
// and its weights, `stride` apart.
struct taps_t {
    int *first, *count, *weights;
    int stride;
};

// Inputs under the triangle of one output, at most.
__device__ inline int most_taps(int from, int to) { return from > to ? 2 * (from / to) + 3 : 5; }

// Taps from `from` to `to` pixels in memory of to * (most_taps + 2) ints, by all threads of a block.
__device__ inline taps_t make_taps(int* memory, int from, int to) {
    taps_t taps = {memory, memory + to, memory + 2 * to, most_taps(from, to)};
    double step = (double)from / (double)to;
    double reach = step > 1.0 ? step : 1.0;
    for (int output = threadIdx.x; output < to; output += blockDim.x) {
        double centre = product((double)output + 0.5, step);
        double start = centre - reach + 0.5;
        int first = start > 0.0 ? (int)start : 0;
        int last = min((int)(centre + reach + 0.5), from);
        double sum = 0.0;
        for (int input = first; input < last; input++) {
            sum += fmax(1.0 - fabs(((double)input - centre + 0.5) / reach), 0.0);
        }
        for (int input = first; input < last; input++) {
            double weight = fmax(1.0 - fabs(((double)input - centre + 0.5) / reach), 0.0);
            double scaled = product(weight / sum, (double)(1 << FRACTION));
            taps.weights[output * taps.stride + input - first] = (int)(0.5 + scaled);
        }
        taps.first[output] = first;
        taps.count[output] = last - first;
    }
    return taps;
}

// One output: the weighted sum of every `apart`-th byte, rounded.
__device__ inline unsigned char weigh(const unsigned char* line, size_t apart, taps_t taps, int output) {
    const int* weights = taps.weights + output * taps.stride;
    line += taps.first[output] * apart;
    int sum = 1 << (FRACTION - 1);
    for (int tap = 0; tap < taps.count[output]; tap++) sum += (int)line[tap * apart] * weights[tap];
    return (unsigned char)min(max(sum >> FRACTION, 0), 255);
}

// Cuts the view's crop out of a plane of rows of `width` pixels and resizes it to size x size, mirrored where the view
// is. `strip` holds view.height * size bytes; `across` and `down` are the taps of both axes.
__device__ inline void resize_plane(const unsigned char* plane, int width, const view_t& view, int size,
                                    const taps_t& across, const taps_t& down, unsigned char* strip,
                                    unsigned char* out) {
    const unsigned char* corner = plane + (size_t)view.top * width + view.left;
    for (int i = threadIdx.x; i < view.height * size; i += blockDim.x) {
        const unsigned char* row = corner + (size_t)(i / size) * width;
        // An axis that keeps its size is left alone.
        strip[i] = view.width == size ? row[i % size] : weigh(row, 1, across, i % size);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < size * size; i += blockDim.x) {
        int y = i / size, x = view.flip ? size - 1 - i % size : i % size;
        out[i] = view.height == size ? strip[y * size + x] : weigh(strip + x, size, down, y);
    }
    __syncthreads();
}
