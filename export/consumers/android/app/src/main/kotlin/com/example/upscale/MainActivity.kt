// The only screen: picks a picture, enlarges it in a thread of its own, compares and saves.
package com.example.upscale

import android.Manifest
import android.content.pm.PackageManager
import android.graphics.Bitmap
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.os.SystemClock
import android.view.View
import android.widget.Button
import android.widget.ProgressBar
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts.PickVisualMedia
import androidx.activity.result.contract.ActivityResultContracts.RequestPermission
import java.util.concurrent.Executors

class MainActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private var upscaler: Upscaler? = null // the worker's own

    @Volatile
    private var isCancelled = false
    private var after: Bitmap? = null

    private val compare by lazy { findViewById<CompareView>(R.id.compare) }
    private val progress by lazy { findViewById<ProgressBar>(R.id.progress) }
    private val status by lazy { findViewById<TextView>(R.id.status) }
    private val pick by lazy { findViewById<Button>(R.id.pick) }
    private val cancel by lazy { findViewById<Button>(R.id.cancel) }
    private val save by lazy { findViewById<Button>(R.id.save) }

    private val picker = registerForActivityResult(PickVisualMedia()) { uri -> uri?.let(::enlarge) }
    private val permission = registerForActivityResult(RequestPermission()) { isGranted ->
        if (isGranted) savePicture() else status.setText(R.string.not_allowed)
    }

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.activity_main)
        progress.max = 1000
        pick.setOnClickListener { picker.launch(PickVisualMediaRequest(PickVisualMedia.ImageOnly)) }
        cancel.setOnClickListener { isCancelled = true }
        save.setOnClickListener { saveIfAllowed() }
    }

    override fun onDestroy() {
        super.onDestroy()
        isCancelled = true
        worker.execute { upscaler?.close() }
        worker.shutdown()
    }

    private fun enlarge(uri: Uri) {
        after = null
        compare.show(null, null)
        isCancelled = false
        busy(getString(R.string.opening))
        work {
            val network = upscaler ?: Upscaler.open(assets).also { upscaler = it }
            val before = readPicture(contentResolver, uri, network.network.scale)
            show { compare.show(before, null) }
            enlarge(before, network)
        }
    }

    /** Runs in the worker. */
    private fun enlarge(before: Bitmap, upscaler: Upscaler) {
        val scale = upscaler.network.scale
        val sr = Bitmap.createBitmap(before.width * scale, before.height * scale, Bitmap.Config.ARGB_8888)
        show { status.text = getString(R.string.running, scale, upscaler.device) }
        val start = SystemClock.elapsedRealtime()
        val isDone = upscaler.enlarge(
            pixels(before), { isCancelled },
            progress = { share -> show { progress.progress = (share * progress.max).toInt() } },
            paste = { sr.setPixels(it.argb, it.offset, it.stride, it.x, it.y, it.width, it.height) },
        )
        val seconds = (SystemClock.elapsedRealtime() - start) / 1000f
        show {
            after = if (isDone) sr else null
            compare.show(before, after)
            val text = getString(R.string.done, scale, upscaler.device, seconds)
            idle(if (isDone) text else getString(R.string.cancelled))
        }
    }

    private fun pixels(bitmap: Bitmap): Picture {
        val argb = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(argb, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        return Picture(bitmap.width, bitmap.height, argb)
    }

    private fun saveIfAllowed() {
        val wanted = Manifest.permission.WRITE_EXTERNAL_STORAGE
        val isFree = Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q
        if (isFree || checkSelfPermission(wanted) == PackageManager.PERMISSION_GRANTED) {
            savePicture()
        } else {
            permission.launch(wanted)
        }
    }

    private fun savePicture() {
        val picture = after ?: return
        val name = "upscale_${System.currentTimeMillis()}.png"
        busy(getString(R.string.save))
        cancel.isEnabled = false
        work {
            savePicture(contentResolver, picture, name)
            show { idle(getString(R.string.saved, name)) }
        }
    }

    /** Runs [task] in the worker; what goes wrong is shown in one line. */
    private fun work(task: () -> Unit) = worker.execute {
        try {
            task()
        } catch (error: Fault) {
            show { idle(error.message) }
        } catch (error: OutOfMemoryError) {
            show { idle("The memory does not hold this picture and its enlargement; pick a smaller one.") }
        } catch (error: RuntimeException) { // such as a SecurityException of another app's picture
            show { idle("${error.javaClass.simpleName}: ${error.message}; pick another picture.") }
        }
    }

    private fun show(change: () -> Unit) = runOnUiThread { if (!isDestroyed) change() }

    private fun busy(text: String) {
        status.text = text
        progress.progress = 0
        progress.visibility = View.VISIBLE
        pick.isEnabled = false
        save.isEnabled = false
        cancel.isEnabled = true
    }

    private fun idle(text: String?) {
        status.text = text
        progress.visibility = View.INVISIBLE
        pick.isEnabled = true
        cancel.isEnabled = false
        save.isEnabled = after != null
    }
}
