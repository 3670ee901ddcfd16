// The LiteRT code: opens the network of the app's assets on the GPU or the CPU and enlarges pictures window by window.
package com.example.upscale

import android.content.res.AssetManager
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.LiteRtException
import com.google.ai.edge.litert.TensorBuffer
import java.io.FileNotFoundException

/** Pixels as ARGB, row by row. */
class Picture(val width: Int, val height: Int, val argb: IntArray)

/** A part of the enlargement that is ready: `width` x `height` of [argb] from [offset] on, to be put at [x], [y]. */
class Part(
    val argb: IntArray, val offset: Int, val stride: Int, val x: Int, val y: Int, val width: Int, val height: Int,
)

/** An opened network. Made, used and closed in one thread: a GPU's context belongs to the thread that made it. */
class Upscaler private constructor(
    val network: Network,
    /** What it runs on, such as "GPU" or "CPU, 4 threads". */
    val device: String,
    private val model: CompiledModel,
) : AutoCloseable {
    private val inputs: List<TensorBuffer> = model.createInputBuffers()
    private val outputs: List<TensorBuffer> = model.createOutputBuffers()
    private val lr = IntArray(network.height * network.width)
    private val sr = IntArray(lr.size * network.scale * network.scale)
    private val floats = FloatArray(if (network.input.isWhole) 0 else 3 * lr.size)
    private val bytes = ByteArray(if (network.input.isWhole) 3 * lr.size else 0)

    /**
     * Enlarges [picture] and hands each part to [paste] and the share that is done to [progress]; stops between two
     * windows once [isCancelled]. Returns whether it came to the end. Throws [Fault].
     */
    fun enlarge(
        picture: Picture, isCancelled: () -> Boolean, progress: (Float) -> Unit, paste: (Part) -> Unit,
    ): Boolean {
        val rows = planAxis(picture.height, network.height, network.reach).spans
        val columns = planAxis(picture.width, network.width, network.reach).spans
        var done = 0
        for (row in rows) {
            for (column in columns) {
                if (isCancelled()) return false
                cut(picture, row.start, column.start)
                run()
                paste(part(row, column))
                progress(++done / (rows.size * columns.size).toFloat())
            }
        }
        return true
    }

    override fun close() {
        (inputs + outputs).forEach(TensorBuffer::close)
        model.close()
    }

    private fun cut(picture: Picture, top: Int, left: Int) {
        for (y in 0 until network.height) {
            val from = mirrored(top + y, picture.height) * picture.width
            val to = y * network.width
            for (x in 0 until network.width) lr[to + x] = picture.argb[from + mirrored(left + x, picture.width)]
        }
    }

    private fun run() {
        try {
            write()
            model.run(inputs, outputs)
            read()
        } catch (error: LiteRtException) {
            throw Fault("The network failed on the $device (${error.message}).", error)
        }
    }

    private fun write() {
        if (network.input.isWhole) {
            toBytes(lr, bytes, network.input)
            inputs[0].writeInt8(bytes)
        } else {
            toFloats(lr, floats)
            inputs[0].writeFloat(floats)
        }
    }

    private fun read() {
        if (network.output.isWhole) {
            val result = outputs[0].readInt8()
            refuseSize(result.size)
            fromBytes(result, sr, network.output)
        } else {
            val result = outputs[0].readFloat()
            refuseSize(result.size)
            fromFloats(result, sr)
        }
    }

    private fun refuseSize(count: Int) {
        if (count != 3 * sr.size) {
            val wanted = "the ${3 * sr.size} of ×${network.scale}"
            throw Fault("${network.file} gave $count numbers, not $wanted; copy it and manifest.json from one export.")
        }
    }

    private fun part(row: Span, column: Span): Part {
        val scale = network.scale
        val stride = network.width * scale
        val offset = (row.first - row.start) * scale * stride + (column.first - column.start) * scale
        val (width, height) = (column.last - column.first) * scale to (row.last - row.first) * scale
        return Part(sr, offset, stride, column.first * scale, row.first * scale, width, height)
    }

    companion object {
        /** Opens the one .tflite file in the app's assets, on the GPU if it takes the network. Throws [Fault]. */
        fun open(assets: AssetManager): Upscaler {
            val network = readNetwork(manifest(assets), onlyFile(assets))
            try {
                return onGpu(assets, network) ?: onCpu(assets, network)
            } catch (error: LiteRtException) {
                throw Fault("${network.file} can't be opened (${error.message}); copy it anew from its export.", error)
            } catch (error: LinkageError) {
                throw Fault("LiteRT does not run on this device (${error.message}).", error)
            }
        }

        /** A first window says what preparing does not: some drivers take a network that they can't run. */
        private fun onGpu(assets: AssetManager, network: Network): Upscaler? {
            val opened = try {
                // With the CPU as a second choice here, LiteRT would fall back silently and could not say so.
                val options = CompiledModel.Options(Accelerator.GPU)
                start(network, "GPU", CompiledModel.create(assets, network.file, options))
            } catch (_: LiteRtException) {
                return null
            } catch (_: LinkageError) {
                return null // the accelerator's library can't be loaded
            }
            try {
                opened.run()
                return opened
            } catch (_: Fault) {
                opened.close()
                return null
            }
        }

        private fun onCpu(assets: AssetManager, network: Network): Upscaler {
            // More threads than fast cores make XNNPACK slower: the slow ones keep the others waiting.
            val threads = Runtime.getRuntime().availableProcessors().coerceIn(1, 4)
            val options = CompiledModel.Options(Accelerator.CPU)
            options.cpuOptions = CompiledModel.CpuOptions(numThreads = threads)
            return start(network, "CPU, $threads threads", CompiledModel.create(assets, network.file, options))
        }

        private fun start(network: Network, device: String, model: CompiledModel): Upscaler = try {
            Upscaler(network, device, model)
        } catch (error: LiteRtException) {
            model.close()
            throw error
        }

        private fun manifest(assets: AssetManager): String = try {
            assets.open("manifest.json").use { it.readBytes().decodeToString() }
        } catch (error: FileNotFoundException) {
            throw Fault("app/src/main/assets lacks manifest.json; copy it there from the model's export.", error)
        }

        private fun onlyFile(assets: AssetManager): String {
            val files = assets.list("").orEmpty().filter { it.endsWith(".tflite") }
            return files.singleOrNull() ?: throw Fault(
                "app/src/main/assets must hold one .tflite file, holds ${files.size}; " +
                    "copy model_int8_128x128.tflite there.",
            )
        }
    }
}
