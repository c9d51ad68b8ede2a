// Views of 8-bit images: crop, flip, colour jitter, grey, blur, normalisation (augment/mod.rs), one block a view. With
// the same parameters the bytes are those of the CPU, but for the weights of the blur: the CPU's exponential function
// may differ in its last bit, which can move a byte that lies at a half by one.

// Memory of one block: the view's planes, a strip for what is between two passes, and ints for taps.
struct desk_t {
    unsigned char *pixels, *strip;
    int* taps;
    // Bytes of the strip.
    int strip_len;
};

// The images and how they become rows of a batch.
struct source_t {
    const unsigned char* images;
    int channels, height, width;
};

__device__ inline pixel_t pixel_at(const unsigned char* pixels, int area, int at) {
    return {pixels[at], pixels[area + at], pixels[2 * area + at]};
}

// The mean of the view's greys, rounded. Sums of whole numbers: the order of terms does not matter.
__device__ inline unsigned char mean_grey(const desk_t& desk, int channels, int area) {
    unsigned int* sums = (unsigned int*)desk.strip;
    unsigned int own = 0;
    for (int i = threadIdx.x; i < area; i += blockDim.x) {
        own += channels == 3 ? luma(pixel_at(desk.pixels, area, i)) : desk.pixels[i];
    }
    sums[threadIdx.x] = own;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    u64 sum = sums[0], count = (u64)area;
    __syncthreads();
    return (unsigned char)((2 * sum + count) / (2 * count));
}

// One operation of the jitter on one pixel of a colour image.
__device__ inline pixel_t jitter_pixel(int op, float factor, unsigned char mean, pixel_t p) {
    unsigned char grey = luma(p);
    switch (op) {
    case 0: return blend(pixel_t{0, 0, 0}, p, factor);
    case 1: return blend(pixel_t{mean, mean, mean}, p, factor);
    case 2: return blend(pixel_t{grey, grey, grey}, p, factor);
    default: return turn_hue(p, factor);
    }
}

// Jitter and grey, in place. Each thread has pixels of its own from one operation to the next; only a mean is of all.
__device__ inline void change_colours(const desk_t& desk, const view_t& view, int channels, int area) {
    for (int place = 0; place < 5; place++) {
        int op = place < 4 ? view.order[place] : 4;
        if (op < 4 ? !(view.jitter >> op & 1) : !view.grey) continue;
        float factor = op < 4 ? view.factor[op] : 0.0f;
        unsigned char mean = op == 1 ? mean_grey(desk, channels, area) : 0;
        if (channels == 1 && op > 1) continue;
        for (int i = threadIdx.x; i < area; i += blockDim.x) {
            if (channels == 1) {
                desk.pixels[i] = blend(mean, desk.pixels[i], factor);
                continue;
            }
            pixel_t p = pixel_at(desk.pixels, area, i);
            unsigned char grey = luma(p);
            p = op == 4 ? pixel_t{grey, grey, grey} : jitter_pixel(op, factor, mean, p);
            desk.pixels[i] = p.red;
            desk.pixels[area + i] = p.green;
            desk.pixels[2 * area + i] = p.blue;
        }
    }
    __syncthreads();
}

__device__ inline float normalised(const feed_t* feed, int channel, unsigned char pixel) {
    return ((float)pixel / 255.0f - feed->mean[channel]) / feed->deviation[channel];
}

// The sample at `place` of an axis that is mirrored at its ends; the border sample itself is not repeated.
__device__ inline int mirror(int place, int size) {
    int back = place < 0 ? -place : place;
    return back < size ? back : 2 * (size - 1) - back;
}

// `taps` samples of a Gaussian, of sum 1, where the taps of the resizing were.
__device__ inline const float* blur_weights(const desk_t& desk, int taps, float sigma) {
    float* weights = (float*)desk.taps;
    for (int tap = threadIdx.x; tap < taps; tap += blockDim.x) {
        float place = ((float)tap - (float)(taps / 2)) / sigma;
        weights[tap] = (float)exp((double)product(product(-0.5f, place), place));
    }
    __syncthreads();
    float sum = 0.0f;
    for (int tap = 0; tap < taps; tap++) sum += weights[tap];
    __syncthreads();
    for (int tap = threadIdx.x; tap < taps; tap += blockDim.x) weights[tap] /= sum;
    __syncthreads();
    return weights;
}

// Blurs, rounds to bytes, normalises and writes: along rows into the strip, for as many rows as it holds, then down.
__device__ inline void blur_and_write(const desk_t& desk, const feed_t* feed, float sigma, int taps, int channels,
                                      int size, map_t* out) {
    const float* weights = blur_weights(desk, taps, sigma);
    float* strip = (float*)desk.strip;
    int half = taps / 2, held = desk.strip_len / (4 * size);
    int band = held >= size ? size : held - 2 * half;
    for (int channel = 0; channel < channels; channel++) {
        const unsigned char* plane = desk.pixels + channel * size * size;
        for (int top = 0; top < size; top += band) {
            int bottom = min(top + band, size), first = max(top - half, 0), last = min(bottom + half, size);
            for (int i = threadIdx.x; i < (last - first) * size; i += blockDim.x) {
                const unsigned char* row = plane + (first + i / size) * size;
                float sum = 0.0f;
                for (int tap = 0; tap < taps; tap++) {
                    sum += product(weights[tap], (float)row[mirror(i % size + tap - half, size)]);
                }
                strip[i] = sum;
            }
            __syncthreads();
            for (int i = threadIdx.x; i < (bottom - top) * size; i += blockDim.x) {
                int y = top + i / size, x = i % size;
                float sum = 0.0f;
                for (int tap = 0; tap < taps; tap++) {
                    sum += product(weights[tap], strip[(mirror(y + tap - half, size) - first) * size + x]);
                }
                unsigned char pixel = (unsigned char)rintf(sum);
                store(&out[(size_t)(y * size + x) * channels + channel], normalised(feed, channel, pixel));
            }
            __syncthreads();
        }
    }
}

// The view of this block's row.
__device__ inline void make_view(const desk_t& desk, source_t source, const unsigned char* image, const feed_t* feed,
                                 const view_t& view, int size, int blur_taps, map_t* out) {
    int channels = source.channels, area = size * size;
    taps_t across = make_taps(desk.taps, view.width, size);
    taps_t down = make_taps(desk.taps + size * (across.stride + 2), view.height, size);
    __syncthreads();
    for (int channel = 0; channel < channels; channel++) {
        const unsigned char* plane = image + (size_t)channel * source.height * source.width;
        resize_plane(plane, source.width, view, size, across, down, desk.strip, desk.pixels + channel * area);
    }
    change_colours(desk, view, channels, area);
    if (view.sigma > 0.0f) {
        blur_and_write(desk, feed, view.sigma, blur_taps, channels, size, out);
        return;
    }
    for (int i = threadIdx.x; i < area * channels; i += blockDim.x) {
        int channel = i % channels;
        store(&out[i], normalised(feed, channel, desk.pixels[channel * area + i / channels]));
    }
}

// How the rows of a batch come to be: `count` of the images in `order`, from the step's place on.
struct batch_t {
    const feed_t* feed;
    const control_t* control;
    const int* order;
    const view_t* views;
    int count, batch;
    // Whether the images are those of the whole set, or of this batch alone.
    int resident;
};

// Finds the image of this block's row and makes its view.
__device__ inline void augment_row(const desk_t& desk, source_t source, const batch_t& of, int size, int blur_taps,
                                   map_t* out) {
    size_t row = blockIdx.x, image = row % of.count;
    if (of.resident) image = (size_t)of.order[(of.control->place - 1) * (u64)of.batch + image];
    const unsigned char* pixels = source.images + image * source.channels * source.height * source.width;
    size_t len = (size_t)size * size * source.channels;
    make_view(desk, source, pixels, of.feed, of.views[row], size, blur_taps, out + row * len);
}

// Views [2 count, size, size, channels] of images [.., channels, height, width]: rows 0..count first views, the others
// second views. The next three differ in the memory that a block has; feed/desk.rs says which of them a view fits in.
extern "C" __global__ void augment_32(const unsigned char* images, const feed_t* feed, const control_t* control,
                                      const int* order, const view_t* views, map_t* out, int count, int batch,
                                      int channels, int height, int width, int size, int blur_taps, int resident) {
    __shared__ float strip[1024];
    __shared__ int taps[448];
    __shared__ unsigned char pixels[3072];
    augment_row({pixels, (unsigned char*)strip, taps, sizeof strip}, {images, channels, height, width},
                {feed, control, order, views, count, batch, resident}, size, blur_taps, out);
}

extern "C" __global__ void augment_64(const unsigned char* images, const feed_t* feed, const control_t* control,
                                      const int* order, const view_t* views, map_t* out, int count, int batch,
                                      int channels, int height, int width, int size, int blur_taps, int resident) {
    __shared__ float strip[2048];
    __shared__ int taps[896];
    __shared__ unsigned char pixels[12288];
    augment_row({pixels, (unsigned char*)strip, taps, sizeof strip}, {images, channels, height, width},
                {feed, control, order, views, count, batch, resident}, size, blur_taps, out);
}

extern "C" __global__ void augment_96(const unsigned char* images, const feed_t* feed, const control_t* control,
                                      const int* order, const view_t* views, map_t* out, int count, int batch,
                                      int channels, int height, int width, int size, int blur_taps, int resident) {
    __shared__ float strip[2304];
    __shared__ int taps[1344];
    __shared__ unsigned char pixels[27648];
    augment_row({pixels, (unsigned char*)strip, taps, sizeof strip}, {images, channels, height, width},
                {feed, control, order, views, count, batch, resident}, size, blur_taps, out);
}

// Views of any size: each block's memory is a part of scratch, strip first, then taps, then pixels.
extern "C" __global__ void augment_any(unsigned char* scratch, int strip_len, int tap_len, int pixel_len,
                                       const unsigned char* images, const feed_t* feed, const control_t* control,
                                       const int* order, const view_t* views, map_t* out, int count, int batch,
                                       int channels, int height, int width, int size, int blur_taps, int resident) {
    size_t tap_bytes = 4 * (size_t)tap_len;
    unsigned char* own = scratch + (size_t)blockIdx.x * ((size_t)strip_len + tap_bytes + (size_t)pixel_len);
    augment_row({own + strip_len + tap_bytes, own, (int*)(own + strip_len), strip_len},
                {images, channels, height, width}, {feed, control, order, views, count, batch, resident}, size,
                blur_taps, out);
}
